"""Sidestream: a streaming, real-time, generative recommender for audio."""
