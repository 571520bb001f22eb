"""Ways to damage a file: bytes anywhere, or values inside a JSON document that still parses."""

import copy
import json

SMALL = 16  # most bytes that one damage to bytes inserts, removes or repeats
NUMBERS = (0, 1, -1, 7, 255, 2**31 - 1, 2**31, 2**63 - 1, 2**64, 1e308, 0.5)
VALUES = (*NUMBERS, None, True, False, "", "x", "\ud83d", "../x", "LABEL_0", [], {}, [[]], [None], {"a": {"b": [1]}})


def flip(content, draw):
    """Return the bytes with one bit changed."""
    at = draw.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]


def overwrite(content, draw):
    """Return the bytes with a number written over some of them."""
    width = draw.choice((1, 2, 4, 8))
    number = draw.choice((0, 1, -1, 2 ** (8 * width - 1) - 1, draw.getrandbits(8 * width - 1)))
    at = draw.randrange(len(content))
    return content[:at] + number.to_bytes(width, "little", signed=True) + content[at + width :]


def truncate(content, draw):
    """Return the first bytes."""
    return content[: draw.randrange(len(content))]


def remove(content, draw):
    """Return the bytes without some."""
    at = draw.randrange(len(content))
    return content[:at] + content[at + draw.randint(1, SMALL) :]


def insert(content, draw):
    """Return the bytes with others between them."""
    at = draw.randrange(len(content) + 1)
    return content[:at] + draw.randbytes(draw.randint(1, SMALL)) + content[at:]


def repeat(content, draw):
    """Return the bytes with some of them twice."""
    at = draw.randrange(len(content))
    some = content[at : at + draw.randint(1, SMALL)]
    return content[:at] + some + content[at:]


def damage_bytes(content, draw):
    """Return the bytes damaged in one to three ways."""
    for _ in range(draw.randint(1, 3)):
        if content:
            content = draw.choice((flip, overwrite, truncate, remove, insert, repeat))(content, draw)
    return content


def damage_document(document, draw):
    """Return a JSON document with one to three values replaced, removed, repeated or moved to another name."""
    document = copy.deepcopy(document)
    for _ in range(draw.randint(1, 3)):
        places = list(_places(document))
        if not places:
            return draw.choice(VALUES)
        holder, key = draw.choice(places)
        act = draw.choice(("replace", "replace", "remove", "repeat"))
        if act == "replace":
            holder[key] = copy.deepcopy(draw.choice(VALUES))
        elif act == "remove":
            del holder[key]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        else:
            holder[draw.choice([key + "x", *map(str, holder)])] = copy.deepcopy(holder[key])
    return document


def damage_json(content, draw):
    """Return a JSON document damaged inside, or as bytes."""
    if draw.random() < 0.25:
        return damage_bytes(content, draw)
    return json.dumps(damage_document(json.loads(content), draw)).encode()


def damage_lines(content, draw):
    """Return JSON lines of which one is damaged inside, or all as bytes."""
    if draw.random() < 0.25:
        return damage_bytes(content, draw)
    lines = content.splitlines()
    at = draw.randrange(len(lines))
    lines[at] = json.dumps(damage_document(json.loads(lines[at]), draw)).encode()
    return b"\n".join(lines)


def damage_header(content, draw):
    """Return a safetensors file whose header, a JSON document behind its length, is damaged; or any of its bytes."""
    if draw.random() < 0.25:
        return damage_bytes(content, draw)
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(damage_document(json.loads(content[8:end]), draw)).encode()
    return len(header).to_bytes(8, "little") + header + content[end:]


def _places(document):
    """Return every place in a document where a value is: a list or dict, and the key in it."""
    keys = range(len(document)) if isinstance(document, list) else document if isinstance(document, dict) else ()
    for key in keys:
        yield document, key
        yield from _places(document[key])
