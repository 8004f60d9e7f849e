"""The P4Runtime server: what clients say over gRPC, turned into operations on a `softswitch.Switch`.

Pure cores (`arbitration`, `bytestrings`, the codecs, `digests`, `write`, `read`, `pipeline`) know no gRPC and no
asyncio; `service` and `listener` are the shells.
"""
