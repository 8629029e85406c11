// A host at the USB port of the board that has opened its serial port.

import { USBCDC } from "rp2040js";

export class UsbHost {
  constructor(chip, onByte) {
    this.cdc = new USBCDC(chip.usbCtrl);
    this.cdc.onSerialData = (bytes) => bytes.forEach(onByte);
    this.usb = chip.usbCtrl;
    this.outgoing = [];
    this.asked = null;
    // rp2040js answers at once, with nothing if it has nothing; a host sends when it has something to say.
    const answer = this.usb.onEndpointRead;
    this.usb.onEndpointRead = (endpoint, size) => {
      if (endpoint !== this.cdc.outEndpoint) return answer(endpoint, size);
      this.asked = size;
      this.flush();
    };
  }

  send(bytes) {
    for (const byte of bytes) this.outgoing.push(byte);
    this.flush();
  }

  flush() {
    if (this.asked === null || this.outgoing.length === 0) return;
    const packet = Uint8Array.from(this.outgoing.splice(0, this.asked));
    this.asked = null;
    this.usb.endpointReadDone(this.cdc.outEndpoint, packet);
  }
}
