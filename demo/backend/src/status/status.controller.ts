import { Controller, Get, Header, ServiceUnavailableException } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { release } from '../release.js';
import { metrics } from './metrics.js';

@Controller()
export class StatusController {
  constructor(private readonly database: DataSource) {}

  @Get('health')
  async health(): Promise<object> {
    try {
      await this.database.query('SELECT 1');
    } catch (error) {
      throw new ServiceUnavailableException({ status: 'error', database: (error as Error).message });
    }
    return { status: 'ok', database: 'ok', version: release.version };
  }

  @Get('version')
  version(): object {
    return { version: release.version };
  }

  @Get('metrics')
  @Header('Content-Type', 'text/plain; version=0.0.4')
  metrics(): string {
    return metrics();
  }
}
