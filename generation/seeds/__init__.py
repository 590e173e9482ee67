"""Published thermal face data as captioned training sets."""
