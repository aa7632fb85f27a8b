"""Compares proxies on one machine: runs them interleaved, checks what they answer, and writes down what it cost."""
