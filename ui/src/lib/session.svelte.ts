/**
 * Whether the gateway asks for a token. The token itself becomes a cookie that no script can read,
 * so nothing here can leak it.
 */
import { whenUnauthenticated } from "./api";

const KEY = "khala.signed-in";

class Session {
  /** A request was answered with 401. */
  needed = $state(false);
  /** This browser once signed in here, so a command line will need a token as well. */
  usesToken = $state(false);

  constructor() {
    whenUnauthenticated(() => (this.needed = true));
    try {
      this.usesToken = localStorage.getItem(KEY) === "1";
    } catch {
      // Without storage the hint about the token is missing until the next sign-in.
    }
  }

  opened(): void {
    this.needed = false;
    this.usesToken = true;
    try {
      localStorage.setItem(KEY, "1");
    } catch {
      // As above.
    }
  }
}

export const session = new Session();
