"""Stages over many images: streaming, bounded memory, every core at work."""
