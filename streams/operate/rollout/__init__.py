"""The operator's side of generations: orders, and what workers say of them."""
