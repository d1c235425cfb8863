/** The part of DOMPurify's types that the page uses; the file defines a global. */
declare global {
  const DOMPurify: {
    sanitize(html: string, options: Record<string, unknown>): DocumentFragment;
    addHook(name: "afterSanitizeAttributes", hook: (node: Element) => void): void;
  };
}
export {};
