"""Scenes made of real faces on other backgrounds, so that every box and landmark is known."""
