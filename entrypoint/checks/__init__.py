"""Active checks of workers: what `health` of the file asks for, performed."""
