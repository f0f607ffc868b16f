"""Weft weaves GenAI microservices into megaservices and serves them behind one gateway."""
