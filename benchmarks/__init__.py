"""What Tallystick's speed claims stand on: `python -m benchmarks` measures them beside what they are compared with."""
