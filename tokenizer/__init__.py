"""Content to semantic ID: encoders, representation, quantizer levels, and the catalogue of items by SID."""
