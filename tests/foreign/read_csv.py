"""Reads vaccination files with Python's csv and says what it found as JSON: the header, and each row as a list.

    python read_csv.py FILE…
"""

import csv
import json
import sys

found = []
for name in sys.argv[1:]:
    with open(name, newline="", encoding="utf-8") as file:
        found.append(list(csv.reader(file, strict=True)))
json.dump(found, sys.stdout)
