"""The subjects of the sample: real moth species, invented datasets, plausible places and invented people."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Species:
    """A species as in GBIF. Keys are text because not all of them are numbers."""

    name: str
    authorship: str
    family: str
    key: str
    genus_key: str
    region: str
    months: tuple[int, int]
    """First and last month in which it flies."""
    count: int
    """Its occurrences in the sample, without those that are identified to genus only."""
    synonym: tuple[str, str] = ("", "")
    """Key and name of a synonym that a few of the records use."""

    @property
    def genus(self) -> str:
        return self.name.split()[0]

    @property
    def epithet(self) -> str:
        return self.name.split()[1]

    @property
    def scientific_name(self) -> str:
        return f"{self.name} {self.authorship}"


@dataclass(frozen=True)
class Dataset:
    """A dataset of a publisher. `folder` is the first part of the paths of its photos."""

    key: str
    title: str
    publisher: str
    publishing_country: str
    doi: str
    license: str
    license_url: str
    basis_of_record: str
    institution_code: str
    folder: str
    abstract: str


@dataclass(frozen=True)
class Place:
    """A place in a country, in decimal degrees, and the people who record there."""

    country_code: str
    country: str
    state_province: str
    locality: str
    continent: str
    latitude: float
    longitude: float
    people: tuple[str, ...]


FAMILY_KEYS = {
    "Noctuidae": "7015",
    "Geometridae": "6950",
    "Sphingidae": "8868",
    "Erebidae": "4532185",
    "Saturniidae": "8841",
}

SPECIES = (
    Species(
        "Noctua pronuba",
        "(Linnaeus, 1758)",
        "Noctuidae",
        "1787000",
        "1786997",
        "europe",
        (6, 9),
        44,
        ("8127339", "Triphaena pronuba (Linnaeus, 1758)"),
    ),
    Species("Biston betularia", "(Linnaeus, 1758)", "Geometridae", "1983350", "1983343", "europe", (5, 8), 34),
    Species("Spilosoma lubricipeda", "(Linnaeus, 1758)", "Erebidae", "5WZLF", "1815384", "europe", (5, 7), 32),
    Species("Deilephila elpenor", "(Linnaeus, 1758)", "Sphingidae", "6E4", "1863908", "europe", (5, 8), 30),
    Species("Opisthograptis luteolata", "(Linnaeus, 1758)", "Geometridae", "0012", "1968404", "europe", (4, 9), 28),
    Species("Arctia caja", "(Linnaeus, 1758)", "Erebidae", "1815483", "1815482", "europe", (6, 8), 26),
    Species("Autographa gamma", "(Linnaeus, 1758)", "Noctuidae", "1777765", "1777761", "europe", (5, 10), 24),
    Species(
        "Euplagia quadripunctaria",
        "(Poda, 1761)",
        "Erebidae",
        "7770914",
        "1815731",
        "europe",
        (7, 9),
        20,
        ("5137482", "Callimorpha quadripunctaria (Poda, 1761)"),
    ),
    Species("Smerinthus ocellata", "(Linnaeus, 1758)", "Sphingidae", "1863531", "1863526", "europe", (5, 7), 18),
    Species("Actias luna", "(Linnaeus, 1758)", "Saturniidae", "1868664", "1868651", "america", (4, 8), 14),
    Species("Gonimbrasia belina", "(Westwood, 1849)", "Saturniidae", "5140256", "1865972", "africa", (1, 3), 12),
    Species("Saturnia pavonia", "(Linnaeus, 1758)", "Saturniidae", "1866077", "1866046", "europe", (4, 5), 10),
    Species("Geometra papilionaria", "(Linnaeus, 1758)", "Geometridae", "1957312", "1957309", "europe", (6, 8), 2),
    Species("Catocala nupta", "(Linnaeus, 1767)", "Erebidae", "1810473", "1810460", "europe", (8, 9), 1),
)

COMMUNITY = Dataset(
    "3f7b2d54-9a61-4c0e-8d27-5b1c6e90a4f2",
    "Nightwatch Research-grade Observations",
    "Nightwatch",
    "US",
    "10.15468/smpl01",
    "CC_BY_NC_4_0",
    "http://creativecommons.org/licenses/by-nc/4.0/legalcode",
    "HUMAN_OBSERVATION",
    "Nightwatch",
    "inaturalist",
    "Observations of moths by a community of naturalists, identified by at least two of them.",
)
MUSEUM = Dataset(
    "84d1c7a6-f0b3-11e1-b2c5-00145eb45e9a",
    "Lepidoptera of the Museum of the Night, dry collection",
    "Museum of the Night",
    "DK",
    "10.15468/smpl02",
    "CC0_1_0",
    "http://creativecommons.org/publicdomain/zero/1.0/legalcode",
    "PRESERVED_SPECIMEN",
    "MOTN",
    "museum",
    "Pinned moths & their labels, photographed drawer by drawer.",
)
LIGHT_TRAP = Dataset(
    "c95a0e18-2b47-4f6d-a3d9-71e8f04b6c3d",
    "Automated light traps of the Lantern project",
    "Lantern project",
    "NL",
    "10.15468/smpl03",
    "CC_BY_4_0",
    "http://creativecommons.org/licenses/by/4.0/legalcode",
    "MACHINE_OBSERVATION",
    "LANTERN",
    "lantern",
    "Moths that rested on the white screens of unattended cameras.",
)
ATLAS = Dataset(
    "1e60b9f3-5d82-4a7c-9c14-e2a7d853f0b6",
    "Emperor moths of southern Africa, an atlas",
    "Mopane Atlas",
    "NA",
    "10.15468/smpl04",
    "CC_BY_4_0",
    "http://creativecommons.org/licenses/by/4.0/legalcode",
    "HUMAN_OBSERVATION",
    "MOPANE",
    "atlas",
    "Records of large moths from woodland in Namibia, Botswana and South Africa.",
)
DATASETS = (COMMUNITY, MUSEUM, LIGHT_TRAP, ATLAS)

REGIONS = {
    "europe": (
        Place(
            "GB",
            "United Kingdom",
            "England",
            "Wicken, walled garden",
            "EUROPE",
            52.3072,
            0.2951,
            ("Hester Quillfeather", "A. Brackenbury", "Tom Ashlock"),
        ),
        Place(
            "DK",
            "Denmark",
            "Midtjylland",
            "Mols, edge of the heath",
            "EUROPE",
            56.2216,
            10.5723,
            ("Søren Natsværmer", "Karen Lygtesen"),
        ),
        Place(
            "DE",
            "Germany",
            "Brandenburg",
            "Hoher Fläming, Waldrand",
            "EUROPE",
            52.1184,
            12.5147,
            ("Jürgen Spinnrath", "Ute Falterbach"),
        ),
        Place(
            "NL",
            "Netherlands",
            "Gelderland",
            "Planken, berm bij de sluis",
            "EUROPE",
            52.0423,
            5.6671,
            ("Marijke van der Nacht", "Joost Lampenier"),
        ),
        Place(
            "SE",
            "Sweden",
            "Skåne län",
            "Löderup, orchard",
            "EUROPE",
            55.4291,
            14.0962,
            ("Åsa Nattfjäril", "Karen Lygtesen"),
        ),
        Place("EE", "Estonia", "Tartumaa", "Laeva, soo serv", "EUROPE", 58.4819, 26.3895, ("Tõnu Öölane",)),
    ),
    "america": (
        Place(
            "US",
            "United States of America",
            "Tennessee",
            "Cove Spring, porch light",
            "NORTH_AMERICA",
            35.6317,
            -83.7218,
            ("Wilhelmina Porchlight", "D. Okafor-Reyes"),
        ),
        Place(
            "CA",
            "Canada",
            "Ontario",
            "Long Sault, campground",
            "NORTH_AMERICA",
            45.0311,
            -74.8892,
            ("Luc Papillon-Côté",),
        ),
    ),
    "africa": (
        Place(
            "NA",
            "Namibia",
            "Kunene",
            "Palmwag, lodge lights",
            "AFRICA",
            -19.8868,
            13.9361,
            ("Ndapewa Shikongo-Vale", "Pieter Motvanger"),
        ),
        Place("BW", "Botswana", "Central", "Serule, mopane veld", "AFRICA", -21.9517, 27.3082, ("Kagiso Moremi-Lane",)),
        Place(
            "ZA",
            "South Africa",
            "Limpopo",
            "Alldays, farm dam",
            "AFRICA",
            -22.6774,
            29.1041,
            ("Pieter Motvanger", "Thandi Mothibe"),
        ),
    ),
}
