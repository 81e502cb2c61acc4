"""Requests that nobody should send: made from the descriptors of a service's methods, then spoilt. A number and a seed give the same request
again, as far as the names that it is given are the same."""

import math
import random

from google.protobuf import descriptor as descriptors
from google.protobuf import message_factory

Field = descriptors.FieldDescriptor
DEPTH = 5
HOSTILE = ["", "../../etc/passwd", "/", ".", "\0", "jobs/", "jobs/../x", "%s%n", "'; DROP TABLE jobs; --", "\u202e\ud7ff\U0010ffff", "a" * 129, "x" * 100_000]
INTEGERS = [0, 1, 2, 3, 5, 10, 100, -1, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1]
FLOATS = [0.0, 1.0, 0.5, 1e-5, -1.0, math.nan, math.inf, -math.inf, 1e308, 5e-324]
FLOAT_TYPES = (Field.CPPTYPE_DOUBLE, Field.CPPTYPE_FLOAT)
BOUNDS = {Field.CPPTYPE_INT32: (-(2**31), 2**31 - 1), Field.CPPTYPE_UINT32: (0, 2**32 - 1), Field.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
          Field.CPPTYPE_UINT64: (0, 2**64 - 1), Field.CPPTYPE_ENUM: (-(2**31), 2**31 - 1)}
LARGE = [1 << 20, (4 << 20) - 100, (4 << 20) + 1, 6 << 20]  # Bytes, around what a message may have.


class Fuzzer:
    """`names`: by a word that the name of a message or a field has in it, values that mean something to the server; "" has those for all
    others. `valid`: by the full name of a message, some that are valid."""

    def __init__(self, seed, names, valid):
        self.seed, self.names, self.valid = seed, names, valid

    def dice(self, number):
        return random.Random(f"{self.seed}/{number}")

    def request(self, dice, kind):
        """One message's bytes, and what was done to it."""
        how = dice.choices(["as it is", "flipped", "cut", "repeated", "spliced", "not UTF-8", "deep", "large", "random"], [45, 15, 8, 8, 8, 8, 3, 1, 4])[0]
        if how == "random":
            return dice.randbytes(dice.choice([1, 2, 10, 100, 1000])), how
        if how == "deep":
            return nested(dice, kind), how
        data = self.message(dice, kind).SerializeToString()
        if how == "large":
            return data + unknown_bytes(dice, kind), how
        return self.spoilt(dice, data, how), how

    def spoilt(self, dice, data, how):
        if not data or how == "as it is":
            return data
        begin = dice.randrange(len(data))
        end = min(len(data), begin + dice.choice([1, 2, 4, 16, 256]))
        if how == "flipped":
            spoilt = bytearray(data)
            for _ in range(dice.choice([1, 1, 2, 8])):
                spoilt[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            return bytes(spoilt)
        if how == "cut":
            return data[:begin]
        if how == "repeated":
            return data[:begin] + data[begin:end] * dice.choice([2, 3, 50]) + data[end:]
        if how == "not UTF-8":
            return data[:begin] + b"\xff\xc0\x80\xed\xa0\x80"[:end - begin].ljust(end - begin, b"\xfe") + data[end:]
        return data[:begin] + dice.randbytes(dice.choice([1, 4, 30])) + data[end:]

    def message(self, dice, kind):
        given = self.valid.get(kind.full_name)
        if given and dice.random() < 0.7:
            message = message_factory.GetMessageClass(kind)()
            message.CopyFrom(dice.choice(given))
            if dice.random() < 0.5:
                self.change(dice, message)
            return message
        message = message_factory.GetMessageClass(kind)()
        self.fill(dice, message, dice.choice([0.2, 0.5, 0.9]), DEPTH)
        return message

    def change(self, dice, message):
        """Gives one field, somewhere in it, another value."""
        while True:
            inner = [value for field, value in message.ListFields() if field.message_type and not field.is_repeated]
            if not inner or dice.random() < 0.3:
                break
            message = dice.choice(inner)
        if message.DESCRIPTOR.fields:
            self.set(dice, message, dice.choice(message.DESCRIPTOR.fields), DEPTH)

    def fill(self, dice, message, share, depth):
        for field in message.DESCRIPTOR.fields:
            if dice.random() < share:
                self.set(dice, message, field, depth)

    def set(self, dice, message, field, depth):
        if field.message_type and field.message_type.GetOptions().map_entry:
            entry = field.message_type.fields_by_name
            if not entry["value"].message_type:
                getattr(message, field.name)[self.scalar(dice, message, entry["key"])] = self.scalar(dice, message, entry["value"])
        elif field.message_type:
            if depth > 0:
                inner = getattr(message, field.name)
                for each in [inner.add() for _ in range(dice.choice([1, 2, 30]))] if field.is_repeated else [inner]:
                    each.SetInParent()
                    self.fill(dice, each, 0.4, depth - 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(self.scalar(dice, message, field) for _ in range(dice.choice([1, 2, 100])))
        else:
            setattr(message, field.name, self.scalar(dice, message, field))

    def scalar(self, dice, message, field):
        if field.cpp_type == Field.CPPTYPE_BOOL:
            return dice.random() < 0.5
        if field.cpp_type in FLOAT_TYPES:
            return dice.choice(FLOATS)
        if field.cpp_type == Field.CPPTYPE_ENUM and dice.random() < 0.8:
            return dice.choice(field.enum_type.values).number
        if field.type == Field.TYPE_BYTES:
            return dice.randbytes(dice.choice([0, 1, 100, 5000]))
        if field.type == Field.TYPE_STRING:
            return self.text(dice, message, field)
        least, most = BOUNDS[field.cpp_type]
        return min(most, max(least, dice.choice(INTEGERS)))

    def text(self, dice, message, field):
        if dice.random() < 0.15:
            return dice.choice(HOSTILE)
        for where in (field.name, message.DESCRIPTOR.full_name.lower()):
            fitting = [values for word, values in self.names.items() if word and word in where]
            if fitting and dice.random() < 0.9:
                return dice.choice(dice.choice(fitting))
        return dice.choice(self.names[""])


def varint(number):
    data = b""
    while number > 127:
        data, number = data + bytes([number & 127 | 128]), number >> 7
    return data + bytes([number])


def unknown_bytes(dice, kind):
    """A field that the message has or has not, of very many bytes."""
    size = dice.choice(LARGE)
    number = dice.choice([field.number for field in kind.fields] + [536870911])
    return varint(number << 3 | 2) + varint(size) + bytes(size)


def nested(dice, kind):
    """Messages in messages: those that the type can hold in itself, or any."""
    holders = [field.number for field in kind.fields if field.message_type] or [1]
    data = b""
    for _ in range(dice.choice([90, 200, 2000])):
        data = varint(dice.choice(holders) << 3 | 2) + varint(len(data)) + data
    return data
