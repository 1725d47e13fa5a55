"""What is not about kernels: where pvspec's files are, atomic writes, the user's cache, templates."""
