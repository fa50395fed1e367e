"""Damaged and hostile model files, and a worker that is given them one by one."""
