/** Version 1.7 looks for the functions of a browser in `self` or `window` alone. Import this before it. */

globalThis.self ??= globalThis;
