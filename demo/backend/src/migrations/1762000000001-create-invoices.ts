import type { MigrationInterface, QueryRunner } from 'typeorm';

export class CreateInvoices1762000000001 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('CREATE TABLE invoices (id serial PRIMARY KEY, total integer NOT NULL CHECK (total > 0))');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE invoices');
  }
}
