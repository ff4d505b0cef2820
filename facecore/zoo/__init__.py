"""Networks, their weights, and what computes them."""
