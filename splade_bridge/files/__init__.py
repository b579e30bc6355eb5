"""How files are read and written: strictly, naming the place of a fault; whole or not at all."""
