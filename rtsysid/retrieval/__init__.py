"""Search recordings for similar moments: binary codes give candidates, exact window distances rank them."""
