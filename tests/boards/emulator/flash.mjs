// The unique id of the flash chip, and as much of a boot ROM as the images ask for: rp2040js has neither.

// Written for this: what stands in the ROM of a chip is the maker's. The table has functions by their two letters, and
// for every other one, at its end, one that does nothing.
const TABLE = 0x100;
const CODE = 0x120;
const NOTHING = 0x140;
const MEMCPY44 = 0x150;
const MEMCPY = 0x160;
const MEMSET = 0x170;
const END = 0x180;

const letters = (text) => text.charCodeAt(0) | (text.charCodeAt(1) << 8);
const FUNCTIONS = [
  [letters("C4"), MEMCPY44],
  [letters("MC"), MEMCPY],
  [letters("MS"), MEMSET],
  [letters("S4"), MEMSET],
  [0, NOTHING],
];
const OPCODES = [
  // ldrh r2, [r0]; cmp r2, #0; beq; cmp r2, r1; beq; adds r0, #4; b; ldrh r0, [r0, #2]; bx lr
  [CODE, [0x8802, 0x2a00, 0xd003, 0x428a, 0xd001, 0x3004, 0xe7f8, 0x8840, 0x4770]],
  [NOTHING, [0x4770]],
  [MEMCPY44, [0x2a00, 0xd004, 0x3a04, 0x588b, 0x5083, 0xe7f9, 0x46c0, 0x4770]],
  // subs r2, #1; bmi; ldrb r3, [r1, r2]; strb r3, [r0, r2]; b; bx lr
  [MEMCPY, [0x3a01, 0xd402, 0x5c8b, 0x5483, 0xe7fa, 0x4770]],
  // subs r2, #1; bmi; strb r1, [r0, r2]; b; bx lr
  [MEMSET, [0x3a01, 0xd401, 0x5481, 0xe7fb, 0x4770]],
];

const rom = new DataView(new ArrayBuffer(16 * 1024));
rom.setUint16(0x14, TABLE, true);
rom.setUint16(0x18, CODE | 1, true);
FUNCTIONS.forEach(([name, code], index) => rom.setUint32(TABLE + 4 * index, name | ((code | 1) << 16), true));
for (const [start, opcodes] of OPCODES) {
  opcodes.forEach((opcode, index) => rom.setUint16(start + 2 * index, opcode, true));
}

export const bootRom = { words: new Uint32Array(rom.buffer), code: CODE, codeBytes: END - CODE };

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
