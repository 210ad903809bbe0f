"""What arrays of any dtype and layout mean: images, labels and classes."""
