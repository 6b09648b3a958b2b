"""The bundled sample: a small archive of moths in GBIF's format, its photos, and a server for them on 127.0.0.1."""
