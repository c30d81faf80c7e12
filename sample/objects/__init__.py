"""What the pictures of the sample show: each function builds one object of parts, its front towards +x."""
