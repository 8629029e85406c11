// A host at the USB port of the board that keeps its serial port open, in place of the one half of it that
// rp2040js has: that one takes every buffer away from the board at once, also those that the host has nothing
// for, so that the board would read nothing for ever without a rest.

import { USBCDC } from "rp2040js";

const BUFFER_CONTROL = 0x80; // of endpoint 0 in; then 0 out, 1 in, …
const BUFFER_CONTROL_END = 0x100;
const AVAILABLE = 1 << 10, FULL = 1 << 15, LENGTH = 0x3ff;
// A frame of full-speed USB has room for 19 bulk packets.
const PACKET_NANOS = 1e6 / 19;

export class UsbHost {
  // `onByte` is called with each byte that comes from the board.
  constructor(chip, onByte) {
    this.onByte = onByte;
    this.memory = chip.usbDPRAMView;
    this.usb = chip.usbCtrl;
    this.outgoing = [];
    const alarm = chip.clock.createAlarm(() => this.transfer());
    this.wake = () => {
      if (!alarm.scheduled || alarm.nanos <= chip.clock.nanos) alarm.schedule(PACKET_NANOS);
    };
    const controlUpdated = this.usb.DPRAMUpdated.bind(this.usb);
    this.usb.DPRAMUpdated = (offset, value) => {
      const isData = offset >= BUFFER_CONTROL + 8 && offset < BUFFER_CONTROL_END;
      if (isData && value & AVAILABLE) this.wake();
      else if (!isData) controlUpdated(offset, value);
    };
    this.plug();
  }

  // Sends bytes to the board, as soon as it takes them.
  send(bytes) {
    for (const byte of bytes) this.outgoing.push(byte);
    this.wake();
  }

  get backlog() {
    return this.outgoing.length;
  }

  // Connects the cable: the host enumerates the board and opens its serial port. A board that has just got
  // its power asks for it itself.
  plug() {
    this.plugged = true;
    this.cdc = new USBCDC(this.usb);
    // The request is one to an interface; rp2040js sends it to the device, which may refuse it.
    this.cdc.cdcSetControlLineState = (value = 0b11) => {
      this.usb.sendSetupPacket(Uint8Array.of(0x21, 0x22, value, 0, 0, 0, 0, 0));
      this.cdc.initialized = true;
    };
    if (this.usb.mainCtrl !== 0) this.usb.resetDevice();
  }

  // Pulls the cable out; the board keeps its power.
  unplug() {
    this.plugged = false;
    this.outgoing.length = 0;
  }

  // A program on the host opens or closes the serial port.
  open(isOpen) {
    this.cdc.cdcSetControlLineState(isOpen ? 0b11 : 0);
  }

  // Carries at most one packet each way.
  transfer() {
    if (!this.plugged) return;
    const { inEndpoint, outEndpoint } = this.cdc;
    const fromBoard = inEndpoint > 0 && this.take(inEndpoint);
    if (fromBoard) fromBoard.forEach(this.onByte);
    if (outEndpoint > 0 && this.outgoing.length > 0) {
      const control = this.control(outEndpoint, true);
      if (control & AVAILABLE) {
        this.setControl(outEndpoint, true, control & ~AVAILABLE);
        this.usb.finishRead(outEndpoint, Uint8Array.from(this.outgoing.splice(0, control & LENGTH)));
      }
    }
  }

  take(endpoint) {
    const control = this.control(endpoint, false);
    if (!(control & AVAILABLE)) return null;
    const start = this.usb.getEndpointBufferOffset(endpoint, false);
    const packet = this.usb.rp2040.usbDPRAM.slice(start, start + (control & LENGTH));
    this.setControl(endpoint, false, control & ~AVAILABLE & ~FULL);
    this.usb.indicateBufferReady(endpoint, false);
    return packet;
  }

  control(endpoint, out) {
    return this.memory.getUint32(BUFFER_CONTROL + 8 * endpoint + (out ? 4 : 0), true);
  }

  setControl(endpoint, out, value) {
    this.memory.setUint32(BUFFER_CONTROL + 8 * endpoint + (out ? 4 : 0), value, true);
  }
}
