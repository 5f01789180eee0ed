"""Content addresses: CIDs, UnixFS graphs and the engines that hold blocks."""
