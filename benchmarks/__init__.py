"""Measurements that print hardware, versions and, last, one line of JSON."""
