"use strict";
/* Offsets of the service are code points; they become UTF-16 once, here, and are UTF-16 from there on. */

/** at[i] is the UTF-16 index of code point i of the text, at[n] the length in UTF-16. */
function codePointTable(text) {
  const at = [];
  for (let i = 0; i < text.length; i += text.codePointAt(i) > 0xffff ? 2 : 1) at.push(i);
  at.push(text.length);
  return at;
}

/** A function from a code point range to a UTF-16 one; null where the range is not in the text. */
function reader(text) {
  const at = codePointTable(text);
  return (start, end) => (0 <= start && start < end && end < at.length ? [at[start], at[end]] : null);
}
