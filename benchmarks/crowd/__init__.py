"""A registry with very many versions in it, and what people ask of one."""
