"""Whether a medium is a still image, by its `type` and its `format`.

Publishers swap the two, translate them and invent words, so both are read in the same way. A medium is rejected only if
one of them names sound, film, text, data or an interactive resource. The words include GBIF's dictionary of media types
(media_type.tsv in gbif/parsers on GitHub) and the types of Dublin Core, https://purl.org/dc/dcmitype/.
"""

import re
from functools import lru_cache

MAX_CHARACTERS = 1_000
MOVING_IMAGE = re.compile(
    r"\b(?:moving|animated) ?images?\b|\bim[aá]gen(?:es)? en movimiento\b|\bimagem em movimento\b"
    r"|\bimages? anim[ée]es?\b"
    r"|\bbewegt ?bild(?:er)?\b|\bbewegte(?:s|nd)? (?:bild(?:er)?|beeld(?:en)?)\b|\bbewegende beeld(?:en)?\b"
    r"|\bimmagin[ei] in movimento\b|\brörlig bild\b"
)
STILL_IMAGE = re.compile(
    r"\b(?:still|stills|stillimages?|imag(?:e|es|en|em|ens)|imágenes|immagin[ei]|img|photo\w{0,12}|foto\w{0,12}"
    r"|pictures?|bild|bilder|beeld(?:en)?|drawings?|dibujos?|dessins?|zeichnung(?:en)?|illustrations?|kuvat?|obraz"
    r"|jpe?g|jpe|jp2|png|gif|tiff?|bmp|webp|heic|dng|изображение|фото\w{0,9})\b"
)
OTHER = re.compile(
    r"\b(?:sounds?|audio|son|sons|sonidos?|som|ton|töne|tonaufnahmen?|geluid(?:en)?|suon[oi]|ljud|lyd|recordings?|songs?"
    r"|mp3|wav|wave|flac|ogg|aiff?|m4a|videos?|vídeos?|vidéos?|films?|filme|filmes|movies?|película|clips?|animations?"
    r"|mp4|mpe?g|avi|mov|webm|m4v|quicktime|movingimages?|texts?|textos?|textes?|documents?|documentos?|dokumente?|pdf"
    r"|html?|xhtml|web ?(?:page|site)s?|docx?|rtf|datasets?|data ?sets?|conjuntos? de (?:datos|dados)|datens[aä]tze?"
    r"|jeux? de données"
    r"|csv|tsv|xlsx?|json|xml|zip|interactive ?resources?|interactive|interactif|interactivo|interaktiv"
    r"|software|services?|models?|3d|stl|obj|ply|gltf|glb|звук|видео|текст)\b"
)
"""Words for media that are not images: sound, film, text, data, interactive resources, software."""
REJECTED_MEDIA_TYPE = re.compile(r"(audio|video|text|model|message)/.*|application/(?!octet-stream).*")
IMAGE_MEDIA_TYPE = re.compile(r"image/.*|application/(?:x-)?(?:jpe?g|jpg|png|tiff?|gif)\b.*")


def is_other_kind(kind: str | None, media_type: str | None) -> bool:
    """Whether one of a medium's `type` and `format` says that it is not a still image."""
    return any(_read_kind(text) is False for text in (kind, media_type) if text)


@lru_cache(maxsize=65_536)
def _read_kind(text: str) -> bool | None:
    """Whether a text names a still image (true) or another kind of medium (false); None if it names neither.

    Of several values, such as `Image|StillImage`, one image is enough.
    """
    kinds = {_read_value(value.strip()) for value in re.split(r"[|;,]", text[:MAX_CHARACTERS])}
    return True if True in kinds else False if False in kinds else None


def _read_value(value: str) -> bool | None:
    if IMAGE_MEDIA_TYPE.fullmatch(value.lower()):
        return True
    if REJECTED_MEDIA_TYPE.fullmatch(value.lower()):
        return False
    term = re.split(r"[/#:]", value.rstrip("/#:"))[-1]
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s_.-]+", " ", term).lower()
    if MOVING_IMAGE.search(words):
        return False
    if STILL_IMAGE.search(words):
        return True
    return False if OTHER.search(words) else None
