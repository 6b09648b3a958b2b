"""From a key, DOI, address or list of names to the archive: requests, waiting, transfer and checks."""
