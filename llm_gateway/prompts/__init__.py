"""What is asked and in which form it is wanted: pure, values in, values out."""
