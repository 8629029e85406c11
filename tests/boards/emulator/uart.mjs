// The UART of the RP2040, a PL011 (Arm DDI 0183), in place of the one of rp2040js. That one sends bytes in no
// time and interrupts for ever, since its interrupt of an empty sender cannot be cleared; it has no receive
// timeout and drops what does not fit without a word to the firmware.

import { BasePeripheral } from "rp2040js";

const DR = 0x00, RSR = 0x04, FR = 0x18, IBRD = 0x24, FBRD = 0x28, LCR_H = 0x2c;
const CR = 0x30, IFLS = 0x34, IMSC = 0x38, RIS = 0x3c, MIS = 0x40, ICR = 0x44, DMACR = 0x48;

const FR_BUSY = 1 << 3, FR_RXFE = 1 << 4, FR_TXFF = 1 << 5, FR_RXFF = 1 << 6, FR_TXFE = 1 << 7;
const RX = 1 << 4, TX = 1 << 5, RECEIVE_TIMEOUT = 1 << 6, OVERRUN = 1 << 10;
const DR_OVERRUN = 1 << 11;

const FIFO_BYTES = 32;
// By the three bits of IFLS.
const LEVELS = [4, 8, 16, 24, 28, 28, 28, 28];
const BITS_A_BYTE = 10;
const TIMEOUT_BITS = 32;

export class Uart extends BasePeripheral {
  // `onByte` is called with each byte when its stop bit is over.
  constructor(rp2040, name, irq, onByte) {
    super(rp2040, name);
    this.irq = irq;
    this.onByte = onByte;
    this.registers = new Map([[IFLS, 0b010010], [CR, 0x300]]);
    this.latched = 0;
    this.sending = [];
    this.received = [];
    this.overran = false;
    // What the other side has sent and what is on its way over the wire.
    this.wire = [];
    this.wireBusy = false;
    this.sendAlarm = rp2040.clock.createAlarm(() => this.byteSent());
    this.wireAlarm = rp2040.clock.createAlarm(() => this.byteArrived());
    this.timeoutAlarm = rp2040.clock.createAlarm(() => this.latch(RECEIVE_TIMEOUT));
  }

  // Sends bytes to the board, at the rate that it has set.
  send(bytes) {
    for (const byte of bytes) this.wire.push(byte);
    if (!this.wireBusy) this.nextArrival();
  }

  get backlog() {
    return this.wire.length;
  }

  clkPeriChanged() {}

  readUint32(offset) {
    switch (offset) {
      case DR: return this.pull();
      case RSR: return this.overran ? 1 << 3 : 0;
      case FR:
        return (this.sending.length > 0 ? FR_BUSY : FR_TXFE)
          | (this.sending.length > FIFO_BYTES ? FR_TXFF : 0)
          | (this.received.length === 0 ? FR_RXFE : 0)
          | (this.received.length >= FIFO_BYTES ? FR_RXFF : 0);
      case RIS: return this.raw();
      case MIS: return this.raw() & this.register(IMSC);
      case IBRD: case FBRD: case LCR_H: case CR: case IFLS: case IMSC: case DMACR:
        return this.register(offset);
    }
    return super.readUint32(offset);
  }

  writeUint32(offset, value) {
    switch (offset) {
      case DR: return this.push(value & 0xff);
      case RSR: this.overran = false; break;
      case ICR: this.latched &= ~value; break;
      case IBRD: case FBRD: case LCR_H: case CR: case IFLS: case IMSC: case DMACR:
        this.registers.set(offset, value);
        break;
      default: super.writeUint32(offset, value);
    }
    this.update();
  }

  register(offset) {
    return this.registers.get(offset) ?? 0;
  }

  get bitNanos() {
    const divisor = this.register(IBRD) + this.register(FBRD) / 64;
    const baud = this.rp2040.clkPeri / (16 * divisor);
    return Number.isFinite(baud) && baud > 0 ? 1e9 / baud : 1e9 / 115200;
  }

  // The first of `sending` is in the shift register already, behind which the FIFO begins.
  push(byte) {
    if (this.sending.length > FIFO_BYTES) return;
    this.sending.push(byte);
    if (this.sending.length === 1) this.sendAlarm.schedule(BITS_A_BYTE * this.bitNanos);
  }

  byteSent() {
    const before = this.sending.length - 1;
    const byte = this.sending.shift();
    if (this.sending.length > 0) this.sendAlarm.schedule(BITS_A_BYTE * this.bitNanos);
    const level = LEVELS[this.register(IFLS) & 0b111];
    const after = Math.max(this.sending.length - 1, 0);
    if ((before > level && after <= level) || this.sending.length === 0) this.latch(TX);
    this.onByte(byte);
  }

  nextArrival() {
    this.wireBusy = this.wire.length > 0;
    if (this.wireBusy) this.wireAlarm.schedule(BITS_A_BYTE * this.bitNanos);
  }

  byteArrived() {
    const byte = this.wire.shift();
    if (this.received.length < FIFO_BYTES) {
      this.received.push(byte | (this.overran ? DR_OVERRUN : 0));
      this.overran = false;
    } else {
      this.overran = true;
      this.latched |= OVERRUN;
    }
    this.timeoutAlarm.schedule(TIMEOUT_BITS * this.bitNanos);
    this.nextArrival();
    this.update();
  }

  pull() {
    const byte = this.received.shift() ?? 0;
    if (this.received.length === 0) {
      this.latched &= ~RECEIVE_TIMEOUT;
      this.timeoutAlarm.cancel();
    }
    this.update();
    return byte;
  }

  latch(bit) {
    this.latched |= bit;
    this.update();
  }

  raw() {
    const level = LEVELS[(this.register(IFLS) >> 3) & 0b111];
    return this.latched | (this.received.length >= level ? RX : 0);
  }

  update() {
    this.rp2040.setInterrupt(this.irq, (this.raw() & this.register(IMSC)) !== 0);
  }
}
