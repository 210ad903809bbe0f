/**
 * Return the bytes of base64 text.
 *
 * @param {string} text
 * @returns {Uint8Array}
 */
export function decode(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
