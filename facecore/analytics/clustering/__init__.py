"""Which unknown faces are one person: neighbour graph, communities, whose they are."""
