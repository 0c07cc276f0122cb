import type { MigrationInterface, QueryRunner } from 'typeorm';

/** A data transformation: "Ada Lovelace <ada@example.org>" becomes a name and an address. */
export class SplitCustomer1761000000003 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE jobs ADD COLUMN customer_email text');
    await runner.query(`
      UPDATE jobs
         SET customer = trim(split_part(customer, '<', 1)),
             customer_email = rtrim(split_part(customer, '<', 2), '>')
       WHERE customer LIKE '%<%>'`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      UPDATE jobs SET customer = customer || ' <' || customer_email || '>' WHERE customer_email IS NOT NULL`);
    await runner.query('ALTER TABLE jobs DROP COLUMN customer_email');
  }
}
