// The unique id of the flash chip, and as much of a boot ROM as it takes to ask for it: rp2040js has neither.

const CODE = 0x120;

// Written for this: what stands in the ROM of a chip is the maker's. It finds memcpy44, and for every other function
// one that does nothing.
const LOOK_UP = [0x4a03, 0x4291, 0xd001, 0x4803, 0x4770, 0x4803, 0x4770, 0x46c0];
const C4 = 0x3443; // memcpy44 by its two letters
const NOTHING = 0x140;
const MEMCPY44 = 0x150;
const COPY = [0x2a00, 0xd004, 0x3a04, 0x588b, 0x5083, 0xe7f9, 0x46c0, 0x4770];

const rom = new DataView(new ArrayBuffer(16 * 1024));
rom.setUint16(0x14, 0x100, true);
rom.setUint16(0x18, CODE | 1, true);
LOOK_UP.forEach((opcode, index) => rom.setUint16(CODE + 2 * index, opcode, true));
[C4, NOTHING | 1, MEMCPY44 | 1].forEach((word, index) => rom.setUint32(0x130 + 4 * index, word, true));
rom.setUint16(NOTHING, 0x4770, true);
COPY.forEach((opcode, index) => rom.setUint16(MEMCPY44 + 2 * index, opcode, true));

export const bootRom = { words: new Uint32Array(rom.buffer), code: CODE, codeBytes: 0x40 };

const DR0 = 0x60;
const READ_UNIQUE_ID = 0x4b;
const DUMMY_BYTES = 4;

// Lets the controller of the flash, as rp2040js has it, answer with this id.
export function connectFlash(controller, uniqueId) {
  let answer = [];
  const read = controller.readUint32.bind(controller);
  const write = controller.writeUint32.bind(controller);
  controller.readUint32 = (offset) => (offset === DR0 && answer.length > 0 ? answer.shift() : read(offset));
  controller.writeUint32 = (offset, value) => {
    if (offset !== DR0 || (value & 0xff) !== READ_UNIQUE_ID) return write(offset, value);
    answer = [...new Array(DUMMY_BYTES).fill(0xff), ...uniqueId];
  };
}
