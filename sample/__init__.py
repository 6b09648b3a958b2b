"""A small GBIF-shaped archive of moths, the photos it names, and a loopback server for them."""
