/** As much of `pg` as is used; it has no types of its own. */
declare module 'pg' {
  export class Client {
    constructor(options: { host: string; port: number; user: string; database: string });
    connect(): Promise<void>;
    query(sql: string): Promise<unknown>;
    end(): Promise<void>;
  }
}
