"""Archives with a bag in them: one room for each format, one that decides, one that writes."""
