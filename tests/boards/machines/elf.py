"""What an image for a board needs, read from its ELF file of 32 bits, little-endian."""

import struct

# The format's numbers, as in elf(5).
SHT_SYMTAB = 2
SHF_WRITE, SHF_ALLOC = 1, 2

# Reserved by linker scripts and not by anything in the image.
RESERVED = {".stack", ".heap"}


# What the compiler calls for copies, comparisons and divisions that the processor has no instruction for.
RUNTIME = ("compiler_builtins", "__aeabi_", "__udiv", "memcpy", "memcmp", "memset", "memmove")


class Elf:
    """Bytes of `text`, which is all that is only read, and of it the compiler's `runtime`; bytes of `static` RAM;
    names of `symbols`."""

    def __init__(self, path):
        self._bytes = path.read_bytes()
        if self._bytes[:6] != b"\x7fELF\x01\x01":
            raise ValueError(f"{path} is no ELF file of 32 bits, little-endian")
        sections = self._sections()
        taken = [it for it in sections if it["flags"] & SHF_ALLOC and it["name"] not in RESERVED]
        self.text = sum(it["size"] for it in taken if not it["flags"] & SHF_WRITE)
        self.static = sum(it["size"] for it in taken if it["flags"] & SHF_WRITE)
        symbols = list(self._symbols(sections))
        if not symbols:
            raise ValueError(f"{path} was stripped of its symbols")
        self.symbols = {name for name, _, _ in symbols}
        # A routine may have several names.
        runtime = {at: size for name, at, size in symbols if any(it in name for it in RUNTIME)}
        self.runtime = sum(runtime.values())

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
        for table in (it for it in sections if it["type"] == SHT_SYMTAB):
            strings = sections[table["link"]]["offset"]
            for at in range(table["offset"], table["offset"] + table["size"], table["entry"]):
                name, address, size = struct.unpack_from("<III", self._bytes, at)
                yield self._text(strings + name), address, size

    def _text(self, offset):
        return self._bytes[offset : self._bytes.index(b"\0", offset)].decode()
