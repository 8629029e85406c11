"""What an image for a board needs, read from its ELF file of 32 bits, little-endian."""

import struct

# The format's numbers, as in elf(5).
SHT_SYMTAB = 2
SHF_WRITE, SHF_ALLOC = 1, 2

# Reserved by linker scripts and not by anything in the image.
RESERVED = {".stack", ".heap"}


class Elf:
    """Bytes of `text`, which is all that is only read, and of `static` RAM; names of `symbols`."""

    def __init__(self, path):
        self._bytes = path.read_bytes()
        if self._bytes[:6] != b"\x7fELF\x01\x01":
            raise ValueError(f"{path} is no ELF file of 32 bits, little-endian")
        sections = self._sections()
        taken = [it for it in sections if it["flags"] & SHF_ALLOC and it["name"] not in RESERVED]
        self.text = sum(it["size"] for it in taken if not it["flags"] & SHF_WRITE)
        self.static = sum(it["size"] for it in taken if it["flags"] & SHF_WRITE)
        self.symbols = self._symbols(sections)

    def _sections(self):
        offset, = struct.unpack_from("<I", self._bytes, 32)
        size, count, names = struct.unpack_from("<HHH", self._bytes, 46)
        sections = []
        for index in range(count):
            header = struct.unpack_from("<10I", self._bytes, offset + index * size)
            fields = ("name", "type", "flags", "address", "offset", "size", "link", "info", "align", "entry")
            sections.append(dict(zip(fields, header)))
        for section in sections:
            section["name"] = self._text(sections[names]["offset"] + section["name"])
        return sections

    def _symbols(self, sections):
        names = []
        for table in (it for it in sections if it["type"] == SHT_SYMTAB):
            strings = sections[table["link"]]["offset"]
            for at in range(table["offset"], table["offset"] + table["size"], table["entry"]):
                name, = struct.unpack_from("<I", self._bytes, at)
                names.append(self._text(strings + name))
        if not names:
            raise ValueError("the image was stripped of its symbols")
        return names

    def _text(self, offset):
        return self._bytes[offset : self._bytes.index(b"\0", offset)].decode()
