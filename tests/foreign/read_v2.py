"""Reads messages with two parsers that are not ours (PyPI hl7 and hl7apy) and says what both found, a line a message.

    python read_v2.py DIR       every *.hl7 of DIR, in the order of their names

Ends with 1 where a parser cannot read a message or the two disagree.
"""

import pathlib
import sys

import hl7
from hl7apy.parser import parse_message


def first(path):
    """Type, control id, segment ids, and the family name and first identifier as each parser unescapes them."""
    text = path.read_bytes().decode("utf-8")
    one = hl7.parse(text)
    # With its groups it is held against the structure of the standard; without, its segments can be listed.
    parse_message(text).validate()
    other = parse_message(text, find_groups=False)
    by_one = [
        str(one.segment("MSH")[9]),
        str(one.segment("MSH")[10]),
        " ".join(str(segment[0]) for segment in one),
        one.extract_field("PID", 1, 3, 1, 1),
    ]
    by_other = [
        other.msh.msh_9.to_er7(),
        other.msh.msh_10.to_er7(),
        " ".join(segment.name for segment in other.children),
        other.pid.pid_3[0].pid_3_1.to_er7(),
    ]
    if by_one != by_other:
        raise ValueError(f"the parsers disagree: {by_one} and {by_other}")
    family = ""
    if len(str(one.segment("PID")).split("|")) > 5:
        family = one.extract_field("PID", 1, 5, 1, 1) or ""
    return by_one + [family]


def main(folder):
    wrong = 0
    for path in sorted(pathlib.Path(folder).glob("*.hl7")):
        try:
            print("\t".join(first(path)))
        except Exception as error:  # whatever a foreign parser throws is its answer
            wrong += 1
            print(f"{path.name}: {type(error).__name__}: {error}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
