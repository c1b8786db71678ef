"""Random values of botocore's shapes, as nasty as the shapes allow."""

import datetime

TAG_TEXT = "([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)"
TAME = "abzAZ059_.:/=+-@ é"
WILD = TAME + "<>&\"'%#?;,\\`~{}[]|\t\n\r\u00a0\u0416\u65e5\U0001f980\ufeff"
DEEP = 6


def scalar(rng, shape, demanding):
    """`demanding` is whether the shape's constraints hold, as they do in requests."""
    kind = shape.type_name
    least, most = (shape.metadata.get("min"), shape.metadata.get("max")) if demanding else (None, None)
    if kind == "string":
        if shape.enum and demanding:
            return rng.choice(shape.enum)
        alphabet = TAME if shape.metadata.get("pattern") == TAG_TEXT else WILD
        least = least or 0
        length = rng.randint(least, min(most if most is not None else least + 12, least + 12))
        return "".join(rng.choice(alphabet) for _ in range(length))
    if kind in ("integer", "long"):
        bits = 31 if kind == "integer" else 63
        least = least if least is not None else -(2**bits)
        most = most if most is not None else 2**bits - 1
        return rng.choice([least, most, min(max(0, least), most), rng.randint(least, most)])
    if kind in ("double", "float"):
        # Fifteen digits are what a decimal and a double agree on everywhere.
        return rng.choice([0.0, 1.5, -0.1, 1e15, 256.0, rng.randrange(10**6) / 1000])
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "blob":
        return rng.randbytes(rng.randint(0, 9))
    assert kind == "timestamp", kind
    # What botocore writes into JSON is whole seconds.
    return datetime.datetime.fromtimestamp(rng.randint(0, 4_000_000_000), datetime.timezone.utc)


def value(rng, shape, demanding=True, depth=0, present=False):
    """`present` is whether it must leave a trace in a form."""
    kind = shape.type_name
    if kind == "structure":
        chosen = {}
        if getattr(shape, "is_tagged_union", False):
            name = rng.choice(list(shape.members))
            return {name: value(rng, shape.members[name], demanding, depth + 1)}
        for name, member in shape.members.items():
            nested = member.type_name in ("structure", "list", "map")
            chance = 0.0 if nested and depth > DEEP else 0.35 if depth else 0.7
            if name in shape.required_members or rng.random() < chance:
                chosen[name] = value(rng, member, demanding, depth + 1, name in shape.required_members)
        scalars = [n for n, m in shape.members.items() if m.type_name not in ("structure", "list", "map")]
        if not chosen and scalars:
            name = rng.choice(scalars)
            chosen[name] = value(rng, shape.members[name], demanding, depth + 1)
        return chosen
    if kind in ("list", "map"):
        least = (shape.metadata.get("min") or int(present)) if demanding else 0
        most = min(shape.metadata.get("max", 3) if demanding else 3, least + 3)
        size = rng.randint(least, most) if depth <= DEEP else least
        if kind == "list":
            return [value(rng, shape.member, demanding, depth + 1) for _ in range(size)]
        keys = [scalar(rng, shape.key, demanding) for _ in range(size)]
        return {key: value(rng, shape.value, demanding, depth + 1) for key in keys}
    return scalar(rng, shape, demanding)


def plain(given, protocol, top=True):
    """What of a request is left on the wire: forms have nothing that holds nothing,
    except that an empty list shows in all but EC2's."""
    if protocol == "json":
        return given
    if isinstance(given, dict):
        inner = {name: plain(item, protocol, False) for name, item in given.items()}
        inner = {name: item for name, item in inner.items() if item is not None}
        return inner if top or inner else None
    if isinstance(given, list):
        items = [item for item in (plain(item, protocol, False) for item in given) if item is not None]
        return items if items or (not given and protocol == "query") else None
    return given
