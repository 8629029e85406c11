"""What schemathesis does not know by itself."""

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    """The document says that it is a text."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else repr(value).encode()


@schemathesis.hook
def map_body(context, body):
    """For JSON Schema 7.0 is a whole number. The document says that it is written 7."""
    return whole(body)


def whole(value):
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return int(value)
    if isinstance(value, dict):
        return {name: whole(it) for name, it in value.items()}
    return [whole(it) for it in value] if isinstance(value, list) else value
