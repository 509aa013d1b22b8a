"""Labels in every form that labs write them, read as ids, masks or classes."""
