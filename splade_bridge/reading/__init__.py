"""One strict way to read what people bring; a fault names its place."""
